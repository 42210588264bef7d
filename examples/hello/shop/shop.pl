# A web server of one file: Perl is on every Debian machine. Answers each request with its version and where it runs.
use strict;
use warnings;
use IO::Socket::INET;

open my $file, '<', 'version' or die "version: $!";
chomp(my $version = <$file>);
chomp(my $machine = `hostname`);
my $server = IO::Socket::INET->new(LocalPort => $ENV{PORT}, Listen => 128, ReuseAddr => 1)
    or die "port $ENV{PORT}: $!";
$| = 1;
print "version $version listens at port $ENV{PORT}\n";
fork // die "fork: $!" for 1 .. 2;

while (1) {
    my $client = $server->accept or next;
    my $line = <$client> // '';
    while (defined(my $field = <$client>)) { last if $field =~ /^\r?\n$/ }
    my $body = "shop $version on $machine\n";
    print $client "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ", length $body,
        "\r\nConnection: close\r\n\r\n", $line =~ /^HEAD / ? '' : $body;
    close $client;
}
