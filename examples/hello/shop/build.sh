# What a build does here: check, and put what runs into one folder.
set -e
perl -c shop.pl
mkdir -p dist
cp shop.pl version dist
