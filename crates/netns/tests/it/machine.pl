# A machine without a machine: carries frames between the network's tap (standard input) and a card
# of its own, in the network namespace it runs in. Arguments: the card's MAC.
use strict;
use warnings;

my ($mac) = @ARGV;
open(my $card, '+<', '/dev/net/tun') or die "cannot open /dev/net/tun: $!\n";
# TUNSETIFF; IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, as the network's side has it
my $request = pack('a16 S x22', 'eth0', 0x0002 | 0x1000 | 0x4000);
ioctl($card, 0x400454ca, $request) or die "cannot make a card: $!\n";
system('ip', 'link', 'set', 'eth0', 'address', $mac) == 0 or die;
system('ip', 'link', 'set', 'eth0', 'up') == 0 or die;
system('ip', 'link', 'set', 'lo', 'up') == 0 or die;
open(my $network, '+<&=', 0) or die "no tap: $!\n";
$| = 1;
print "ready\n";
while (1) {
    my $wanted = '';
    vec($wanted, fileno($card), 1) = 1;
    vec($wanted, fileno($network), 1) = 1;
    next if select(my $ready = $wanted, undef, undef, undef) < 0;
    for ([$card, $network], [$network, $card]) {
        my ($from, $to) = @$_;
        next unless vec($ready, fileno($from), 1);
        my $read = sysread($from, my $frame, 70000);
        # A network that went away leaves the machine without a link, not dead.
        unless (defined $read) { select(undef, undef, undef, 0.05); next }
        syswrite($to, $frame);
    }
}
