# Answers each TCP connection with its name, and how many bytes came, at the end of a line or of the stream.
# Arguments: address, port, name.
use strict;
use warnings;
use Socket;

my ($address, $port, $name) = @ARGV;
socket(my $listener, PF_INET, SOCK_STREAM, 0) or die "socket: $!\n";
setsockopt($listener, SOL_SOCKET, SO_REUSEADDR, 1);
bind($listener, sockaddr_in($port, inet_aton($address))) or die "bind: $!\n";
listen($listener, 100) or die "listen: $!\n";
$| = 1;
print "ready\n";
$SIG{CHLD} = 'IGNORE';
while (accept(my $client, $listener)) {
    next if fork();
    my $bytes = 0;
    while (my $read = sysread($client, my $chunk, 65536)) {
        $bytes += $read;
        last if $chunk =~ /\n/;
    }
    syswrite($client, "$name $bytes\n");
    exit 0;
}
