#!/usr/bin/perl
# Hafen's guest agent: the one voice the host has inside a machine.
#
# It is Perl because perl-base is Essential in Debian: nothing to install or compile. It stays
# resident so that a machine resumed from a template starts no interpreter: under emulation each
# process start costs tens of milliseconds. It uses raw system calls where a command line tool
# would do, for the same reason, and only what perl-base ships.
#
# Protocol (version 1), on the virtio-serial port org.hafen.agent.0, in both directions:
#   HAFEN1 <verb> <number>\n
#   <key> <hex> [<hex> …]\n          zero or more
#   END <number>\n
# A line that does not fit is ignored until the next opening line, so that a half-sent message
# of a host that died does no harm. Sizes are bounded below.
use strict;
use warnings;
use Fcntl;
use POSIX ();
use Socket;

my $MAX_LINE    = 4 << 20;
my $MAX_MESSAGE = 8 << 20;
my $STATE       = '/var/lib/hafen/identity';
my $APPLIED     = '/run/hafen/applied';
my $HOST_KEY    = '/etc/ssh/ssh_host_ed25519_key';
my $SSHD_PID    = '/run/sshd.pid';
my $START_DELAY = 0.3;
my $PORT_NAME   = 'org.hafen.agent.0';

# x86-64 numbers; the machines of this engine are x86-64 only.
my %SYSCALL = (sethostname => 170, mount => 165, umount2 => 166, clock_settime => 227, sync => 162);
my ($SIOCSIFFLAGS, $SIOCGIFFLAGS, $SIOCSIFADDR, $SIOCSIFNETMASK, $SIOCSIFHWADDR, $SIOCSIFMTU)
  = (0x8914, 0x8913, 0x8916, 0x891c, 0x8924, 0x8922);
my ($SIOCADDRT, $RNDADDENTROPY, $RNDRESEEDCRNG) = (0x890b, 0x40085203, 0x5207);
my ($FIFREEZE, $FITHAW, $EXT4_IOC_RESIZE_FS, $BLKGETSIZE64)
  = (0xc0045877, 0xc0045878, 0x40086610, 0x80081272);
my $SIGIO = 29;
my ($IFF_UP, $MS_BIND, $MS_REMOUNT, $MS_RDONLY) = (1, 4096, 32, 1);

$SIG{PIPE} = 'IGNORE';
$SIG{IO}   = sub { };
$SIG{ALRM} = sub { thaw() };
POSIX::sigprocmask(POSIX::SIG_BLOCK(), POSIX::SigSet->new($SIGIO));
my ($port, $buffer, $frozen, $applied, $first_identity) = (undef, '', 0, 0, 0);
my $template = do { my $cmdline = slurp('/proc/cmdline'); $cmdline =~ /\bhafen\.template=1\b/ };

sub slurp {
    my ($path) = @_;
    open(my $in, '<', $path) or return '';
    local $/;
    my $text = <$in>;
    return defined $text ? $text : '';
}

# Never leaves half a file: readers see the old text or the new. But for a clone's first identity, when nobody reads yet
# and a clone that breaks off is thrown away: to replace a file makes ext4 write it out at once, to make one does not.
sub spew {
    my ($path, $mode, $text) = @_;
    my $new = "$path.hafen-new";
    unlink $new;
    sysopen(my $out, $new, O_WRONLY | O_CREAT | O_EXCL, $mode) or die "create $new: $!\n";
    chmod($mode, $new) or die "chmod $new: $!\n";
    my $done = 0;
    while ($done < length $text) {
        my $n = syswrite($out, $text, length($text) - $done, $done);
        die "write $new: $!\n" unless defined $n;
        $done += $n;
    }
    close($out) or die "close $new: $!\n";
    unlink $path if $template && !$applied;
    rename($new, $path) or die "rename $new: $!\n";
}

sub make_dirs {
    my ($path) = @_;
    my $at = '';
    for my $part (split m{/}, $path) {
        next if $part eq '';
        $at .= "/$part";
        mkdir $at, 0755;
    }
}

sub call {
    my ($name, @args) = @_;
    my $result = syscall($SYSCALL{$name}, @args);
    die "$name: $!\n" if $result == -1;
}

# ---- the port -------------------------------------------------------------------------------

sub port_open {
    while (1) {
        for my $name (glob '/sys/class/virtio-ports/*/name') {
            my $text = slurp($name);
            chomp $text;
            next unless $text eq $PORT_NAME;
            my ($device) = $name =~ m{([^/]+)/name$};
            if (sysopen($port, "/dev/$device", O_RDWR)) {
                # SIGIO on connect and disconnect of the host: lets an idle agent sleep.
                fcntl($port, F_SETOWN, $$ + 0);
                fcntl($port, F_SETFL, O_RDWR | O_ASYNC);
                return;
            }
        }
        select(undef, undef, undef, 0.05);
    }
}

# Waits until the host came or went. SIGIO is blocked outside of this call, so one that arrived
# since the last look at the port ends the wait at once instead of being lost.
sub host_wait {
    alarm 30 unless $frozen;    # while frozen, the alarm is the one that thaws
    POSIX::sigsuspend(POSIX::SigSet->new);
}

# The next whole message as (verb, number, {key => [[value, …], …]}). Waits for ever; or, given
# a reference to seconds, for so long, counting them down, and not at all without a host. The
# driver reports a missing host as hang-up: readable at once, and a read that gives nothing.
sub message_read {
    my ($left) = @_;
    my ($verb, $number, $fields, $size);
    while (1) {
        while ($buffer =~ s/\A([^\n]*)\n//) {
            my $line = $1;
            if ($line =~ /\AHAFEN1 ([a-z]{1,16}) ([0-9]{1,18})\z/) {
                ($verb, $number, $fields, $size) = ($1, $2, {}, 0);
            }
            elsif (defined $verb && $line eq "END $number") {
                return ($verb, $number, $fields);
            }
            elsif (defined $verb && $line =~ /\A([a-z_]{1,32}) ([0-9a-f ]*)\z/) {
                my ($key, $rest) = ($1, $2);
                $size += length $line;
                if ($size > $MAX_MESSAGE) { undef $verb; next }
                push @{$fields->{$key}}, [map { pack 'H*', $_ } split / /, $rest, -1];
            }
            else { undef $verb }
        }
        if (length $buffer > $MAX_LINE) { $buffer = ''; undef $verb }
        # Not in the middle of a message: its rest would be taken for rubbish.
        if (defined $left && !defined $verb && $buffer eq '') {
            my $bits = '';
            vec($bits, fileno($port), 1) = 1;
            (my $ready, $$left) = select($bits, undef, undef, $$left);
            return () unless $ready > 0;
        }
        my $got = sysread($port, $buffer, 65536, length $buffer);
        next if !defined $got && $!{EINTR};
        if (!$got) {
            # No host: forget what it began to say.
            $buffer = '';
            undef $verb;
            return () if defined $left;
            host_wait();
        }
    }
}

sub message_write {
    my ($verb, $number, %fields) = @_;
    my $text = "HAFEN1 $verb $number\n";
    for my $key (sort keys %fields) { $text .= "$key " . unpack('H*', $fields{$key}) . "\n" }
    $text .= "END $number\n";
    my $done = 0;
    while ($done < length $text) {
        # The driver lets a write wait until a host comes; a boot must not hang on that.
        my $bits = '';
        vec($bits, fileno($port), 1) = 1;
        return unless select(undef, $bits, undef, $verb eq 'hello' ? 0 : 2);
        my $n = syswrite($port, $text, length($text) - $done, $done);
        return unless defined $n && $n > 0;
        $done += $n;
    }
}

# ---- identity -------------------------------------------------------------------------------

sub one {
    my ($fields, $key) = @_;
    my $rows = $fields->{$key} or return undef;
    return $rows->[0][0];
}

# Fresh entropy first: whatever draws random numbers afterwards differs from every other clone.
sub reseed {
    my ($bytes) = @_;
    sysopen(my $random, '/dev/urandom', O_RDWR) or die "open /dev/urandom: $!\n";
    my $request = pack('l l a*', 8 * length $bytes, length $bytes, $bytes);
    ioctl($random, $RNDADDENTROPY, $request) or die "RNDADDENTROPY: $!\n";
    ioctl($random, $RNDRESEEDCRNG, 0)        or die "RNDRESEEDCRNG: $!\n";
}

# Early in a boot the driver may not be loaded yet: waits for it.
sub interface {
    for (1 .. 3000) {
        my $name = interface_now();
        return $name if defined $name;
        select(undef, undef, undef, 0.01);
    }
    die "no network interface within 30 s\n";
}

sub interface_now {
    for my $path (sort glob '/sys/class/net/*') {
        my ($name) = $path =~ m{([^/]+)$};
        return $name if $name ne 'lo' && -e "$path/device";
    }
    return undef;
}

sub sockaddr4 { my ($ip) = @_; return pack('S n a4 x8', AF_INET, 0, $ip) }

sub datagram_socket {
    socket(my $sock, AF_INET, SOCK_DGRAM, 0) or die "socket: $!\n";
    return $sock;
}

sub card_switch {
    my ($sock, $name, $up) = @_;
    my $request = pack 'a16 x24', $name;
    ioctl($sock, $SIOCGIFFLAGS, $request) or die "SIOCGIFFLAGS: $!\n";
    my $now = unpack 'x16 S', $request;
    my $then = $up ? $now | $IFF_UP : $now & ~$IFF_UP;
    return if $now == $then;
    $request = pack 'a16 S x22', $name, $then;
    ioctl($sock, $SIOCSIFFLAGS, $request) or die "SIOCSIFFLAGS: $!\n";
}

# No router advertisements, no link-local traffic: addresses come from the host alone.
sub ipv6_off {
    my ($name) = @_;
    my $path = "/proc/sys/net/ipv6/conf/$name/disable_ipv6";
    return if slurp($path) eq "1\n";
    if (open my $off, '>', $path) { print $off "1\n" }
}

sub network_up {
    my ($fields) = @_;
    my $address = one($fields, 'address');
    my $mac     = one($fields, 'mac');
    return unless defined $address;
    my $name = interface();
    my ($ip, $prefix) = $address =~ m{\A([0-9.]+)/([0-9]+)\z} or die "bad address\n";
    my $packed = inet_aton($ip);
    my $mask = pack 'N', $prefix == 0 ? 0 : (0xffffffff << (32 - $prefix)) & 0xffffffff;
    my $sock = datagram_socket();
    ipv6_off($name);
    if (defined $mac) {
        my $now = slurp("/sys/class/net/$name/address");
        chomp $now;
        if ($now ne $mac) {
            my $request = pack 'a16 S a6 x16', $name, 1, pack 'H*', $mac =~ tr/://dr;
            # A card that is up may refuse.
            if (!ioctl($sock, $SIOCSIFHWADDR, $request)) {
                card_switch($sock, $name, 0);
                ioctl($sock, $SIOCSIFHWADDR, $request) or die "SIOCSIFHWADDR: $!\n";
            }
        }
    }
    if (defined(my $mtu = one($fields, 'mtu'))) {
        my $request = pack 'a16 l x20', $name, $mtu;
        ioctl($sock, $SIOCSIFMTU, $request) or die "SIOCSIFMTU: $!\n";
    }
    my $request = pack 'a16 a16 x8', $name, sockaddr4($packed);
    ioctl($sock, $SIOCSIFADDR, $request) or die "SIOCSIFADDR: $!\n";
    $request = pack 'a16 a16 x8', $name, sockaddr4($mask);
    ioctl($sock, $SIOCSIFNETMASK, $request) or die "SIOCSIFNETMASK: $!\n";
    card_switch($sock, $name, 1);
    if (defined(my $gateway = one($fields, 'gateway'))) {
        # struct rtentry: pad, dst, gateway, genmask, flags (UP|GATEWAY), the rest zero.
        my $any = sockaddr4("\0\0\0\0");
        my $route = pack 'Q a16 a16 a16 S x62', 0, $any, sockaddr4(inet_aton($gateway)), $any, 3;
        ioctl($sock, $SIOCADDRT, $route) or $!{EEXIST} or die "SIOCADDRT: $!\n";
    }
}

sub hosts_text {
    my ($hostname, $fqdn, $ip) = @_;
    my $text = "127.0.0.1\tlocalhost\n::1\t\tlocalhost ip6-localhost ip6-loopback\n";
    $text .= "$ip\t" . ($fqdn eq $hostname ? $hostname : "$fqdn $hostname") . "\n" if defined $ip;
    return $text;
}

# boot_id is made by the kernel once per boot: all clones would share the template's. A file stands in for it.
sub boot_id_set {
    my ($id) = @_;
    my $target = '/proc/sys/kernel/random/boot_id';
    return if slurp($target) eq "$id\n";
    my $file = '/run/hafen/boot_id';
    # Mounted already, by the template or an earlier identity: the text changes in place. A mount would wake systemd, which
    # then reads all of them again.
    if (sysopen(my $out, $file, O_WRONLY)) {
        my $n = syswrite($out, "$id\n");
        die "write $file: $!\n" unless defined $n && $n == 1 + length $id;
        return if slurp($target) eq "$id\n";
    }
    boot_id_mount($id);
}

sub boot_id_mount {
    my ($id) = @_;
    my ($target, $file) = ('/proc/sys/kernel/random/boot_id', '/run/hafen/boot_id');
    make_dirs('/run/hafen');
    spew($file, 0444, "$id\n");
    call('mount', $file, $target, my $none = '', $MS_BIND, 0);
    call('mount', $file, $target, $none, $MS_BIND | $MS_REMOUNT | $MS_RDONLY, 0);
}

sub keys_write {
    my ($fields) = @_;
    my $changed = 0;
    my @files = (
        [host_key_public  => "$HOST_KEY.pub",               0644],
        [host_certificate => "$HOST_KEY-cert.pub",          0644],
        [user_ca          => '/etc/ssh/hafen_user_ca.pub',  0644],
        [principals       => '/etc/ssh/hafen_principals/hafen', 0644],
    );
    for my $file (@files) {
        my ($key, $path, $mode) = @$file;
        my $text = one($fields, $key);
        next unless defined $text;
        next if slurp($path) eq $text;
        spew($path, $mode, $text);
        $changed = 1;
    }
    my $key = one($fields, 'host_key');
    return $changed ? sshd_restart() : undef unless defined $key;
    return sshd_release($key) if -p $HOST_KEY;
    if (slurp($HOST_KEY) ne $key) {
        spew($HOST_KEY, 0600, $key);
        $changed = 1;
    }
    return $changed ? sshd_restart() : undef;
}

# In a template sshd waits in the opening of its host key, which is a pipe. sshd has the pipe
# open once we have; the file takes the pipe's place before sshd can look again.
sub sshd_release {
    my ($key) = @_;
    sysopen(my $pipe, $HOST_KEY, O_WRONLY | O_NONBLOCK) or die "sshd does not wait for its key: $!\n";
    spew($HOST_KEY, 0600, $key);
    my $n = syswrite($pipe, $key);
    die "sshd did not take its key\n" unless defined $n && $n == length $key;
    close $pipe;
    return '';
}

# sshd reads its keys once. It re-executes itself on SIGHUP and writes its pid file after it
# listens again.
sub sshd_restart {
    my $pid = slurp($SSHD_PID);
    chomp $pid;
    return undef unless $pid =~ /\A[0-9]+\z/;
    return undef unless slurp("/proc/$pid/comm") =~ /\Asshd/;
    unlink $SSHD_PID;
    kill 'HUP', $pid or return undef;
    return $pid;
}

# Returns once sshd listens with the key it was given.
sub sshd_wait {
    my ($pid) = @_;
    for (1 .. 6000) {
        return if -s $SSHD_PID;
        die "sshd ended while it was given its host key\n" if $pid ne '' && !-e "/proc/$pid";
        select(undef, undef, undef, 0.005);
    }
    die "sshd did not listen within 30 s after it was given its host key\n";
}

sub identity_apply {
    my ($fields) = @_;
    my $hostname = one($fields, 'hostname');
    die "identity without hostname\n" unless defined $hostname && $hostname =~ /\A[a-z0-9-]{1,63}\z/;
    my $fqdn = one($fields, 'fqdn');
    $fqdn = $hostname unless defined $fqdn;
    my $address = one($fields, 'address');
    my ($ip) = defined $address ? $address =~ m{\A([0-9.]+)/} : ();

    if (defined(my $bytes = one($fields, 'entropy'))) { reseed($bytes) }
    if (defined(my $clock = one($fields, 'clock'))) {
        my ($seconds, $nanos) = $clock =~ /\A([0-9]+)\.([0-9]{9})\z/ or die "bad clock\n";
        call('clock_settime', 0, pack 'q q', $seconds, $nanos);
    }
    my $sshd = keys_write($fields);
    call('sethostname', my $name = $hostname, length $hostname);
    spew('/etc/hostname', 0644, "$hostname\n");
    spew('/etc/hosts',    0644, hosts_text($hostname, $fqdn, $ip));
    if (defined(my $id = one($fields, 'machine_id'))) {
        spew('/etc/machine-id', 0444, "$id\n") if slurp('/etc/machine-id') ne "$id\n";
    }
    if (defined(my $id = one($fields, 'boot_id'))) { boot_id_set($id) }
    my $dns = one($fields, 'dns');
    if (defined $dns) {
        my $search = one($fields, 'search');
        my $text = defined $search ? "search $search\n" : '';
        spew('/etc/resolv.conf', 0644, $text . "nameserver $dns\n");
    }
    for my $file (@{$fields->{file} || []}) {
        my ($path, $mode, $text) = @$file;
        die "file path is not absolute\n" unless $path =~ m{\A/} && $path !~ m{/\.\.(/|\z)};
        make_dirs($path =~ s{/[^/]*\z}{}r);
        spew($path, oct $mode, $text);
    }
    sshd_wait($sshd) if defined $sshd;
    network_up($fields);
}

# What a reboot needs when no host answers. Never entropy, clock or boot id.
sub identity_save {
    my ($fields) = @_;
    my $text = '';
    for my $key (sort keys %$fields) {
        next if $key =~ /\A(?:entropy|clock|boot_id|file)\z/;
        $text .= join(' ', $key, map { unpack 'H*', $_ } @$_) . "\n" for @{$fields->{$key}};
    }
    make_dirs('/var/lib/hafen');
    spew($STATE, 0600, $text) if slurp($STATE) ne $text;
}

sub identity_load {
    my $text = slurp($STATE);
    return undef if $text eq '';
    my %fields;
    for my $line (split /\n/, $text) {
        my ($key, @values) = split / /, $line, -1;
        push @{$fields{$key}}, [map { pack 'H*', $_ } @values];
    }
    return \%fields;
}

sub facts {
    my ($uptime) = slurp('/proc/uptime') =~ /\A([0-9.]+)/;
    chomp(my $boot = slurp('/proc/sys/kernel/random/boot_id'));
    chomp(my $machine = slurp('/etc/machine-id'));
    chomp(my $public = slurp("$HOST_KEY.pub"));
    my ($host) = (POSIX::uname())[1];
    return (
        boot_id => $boot, machine_id => $machine, hostname => $host, host_key => $public,
        uptime => $uptime, applied => (-e $APPLIED ? 1 : 0), template => ($template ? 1 : 0),
    );
}

sub notify {
    my ($text) = @_;
    my $path = $ENV{NOTIFY_SOCKET} or return;
    $path =~ s/\A@/\0/;
    socket(my $sock, AF_UNIX, SOCK_DGRAM, 0) or return;
    send($sock, $text, 0, sockaddr_un($path));
}

sub signal_init { my ($number) = @_; kill POSIX::SIGRTMIN() + $number, 1 }

# ---- the template ---------------------------------------------------------------------------

sub root_grow {
    open(my $disk, '<', '/dev/vda') or return;
    my $size = pack 'Q', 0;
    ioctl($disk, $BLKGETSIZE64, $size) or return;
    # Only a file system that is the whole disk is ours to grow.
    return unless slurp('/proc/self/mounts') =~ m{^/dev/(?:vda|root) / ext4 }m;
    open(my $root, '<', '/') or return;
    my $blocks = pack 'Q', int(unpack('Q', $size) / 4096);
    ioctl($root, $EXT4_IOC_RESIZE_FS, $blocks) or $!{EINVAL} or die "grow root: $!\n";
}

# A template has no host key at all: sshd is captured while it waits for one. It has then done
# everything but reading the key and listening, which is most of its start under emulation.
#
# Nor does a clone have to do what needs no identity: its card is up, without an address, and its boot id lies in a file
# that stands in for the kernel's.
sub template_prepare {
    my $name = interface();
    ipv6_off($name);
    card_switch(datagram_socket(), $name, 1);
    chomp(my $id = slurp('/proc/sys/kernel/random/boot_id'));
    boot_id_mount($id);
    return if -e $HOST_KEY;
    POSIX::mkfifo($HOST_KEY, 0600) or die "mkfifo $HOST_KEY: $!\n";
}

# Waits until all that boots has booted and sshd sleeps in openat(2), number 257, of its key.
sub template_settle {
    my $calm = 0;
    for (1 .. 1200) {
        my $jobs = qx(/usr/bin/systemctl list-jobs --no-legend --plain);
        my $left = grep { !/\sssh\.service\s/ && /\S/ } split /\n/, $jobs;
        my $pid = qx(/usr/bin/systemctl show --property=MainPID --value ssh.service);
        chomp $pid;
        my $waits = slurp("/proc/$pid/syscall") =~ /\A257 / && slurp("/proc/$pid/stat") =~ /\) S /;
        $calm = $left == 0 && $waits ? $calm + 1 : 0;
        # What clones would write out, each for itself.
        call('sync');
        return if $calm == 3;
        select(undef, undef, undef, 0.3);
    }
    die "the system does not come to rest\n";
}

# ---- verbs ----------------------------------------------------------------------------------

my %verbs = (
    ping => sub { return (pong => ()) },
    info => sub { return (info => facts()) },
    settle => sub { template_settle(); return (done => ()) },
    grow => sub { root_grow(); return (done => ()) },
    sync => sub { call('sync'); return (done => ()) },
    identity => sub {
        my ($fields) = @_;
        identity_apply($fields);
        make_dirs('/run/hafen');
        $first_identity = !-e $APPLIED;
        spew($APPLIED, 0644, "1\n");
        $applied = 1;
        return (ready => facts());
    },
    freeze => sub {
        open(my $root, '<', '/') or die "open /: $!\n";
        call('sync');
        ioctl($root, $FIFREEZE, my $zero = pack 'l', 0) or die "FIFREEZE: $!\n";
        $frozen = 1;
        # A host that dies between freeze and thaw must not leave a dead machine.
        alarm 20;
        return (done => ());
    },
    thaw     => sub { thaw();          return (done => ()) },
    poweroff => sub { signal_init(4);  return (done => ()) },
    reboot   => sub { signal_init(5);  return (done => ()) },
);

sub thaw {
    return unless $frozen;
    $frozen = 0;
    alarm 0;
    open(my $root, '<', '/') or return;
    ioctl($root, $FITHAW, my $zero = pack 'l', 0);
}

# The journal was begun under the template's ids and would be kept under them. systemd starts
# the service again at once, and holds its sockets meanwhile.
sub journal_restart {
    my $pids = slurp('/sys/fs/cgroup/system.slice/systemd-journald.service/cgroup.procs');
    my @old = grep { /\A[0-9]+\z/ } split /\n/, $pids;
    kill 'TERM', @old;
    # It writes until it has ended, and would bring back what is removed before.
    for (1 .. 200) {
        last unless grep { -e "/proc/$_" } @old;
        select(undef, undef, undef, 0.05);
    }
    chomp(my $id = slurp('/etc/machine-id'));
    for my $dir (grep { !m{/\Q$id\E\z} } glob '/{run,var}/log/journal/*') {
        unlink glob "$dir/*";
        rmdir $dir;
    }
}

# Things nobody waits for; done after the answer is out.
sub identity_finish {
    my ($fields) = @_;
    journal_restart() if $template && $first_identity;
    identity_save($fields);
    if (open(my $random, '<', '/dev/urandom')) {
        sysread($random, my $seed, 512);
        eval { spew('/var/lib/systemd/random-seed', 0600, $seed) };
    }
    call('sync');
}

# Serves for ever; or, given a reference to seconds, until they are over, the host is gone, or
# the machine has its identity.
sub serve {
    my ($left) = @_;
    while (1) {
        my ($verb, $number, $fields) = message_read($left);
        return unless defined $verb;
        my $act = $verbs{$verb};
        my ($answer, %facts) = eval {
            die "unknown verb: this image's agent is older than the host\n" unless $act;
            $act->($fields);
        };
        if (my $error = $@) {
            chomp $error;
            message_write('error', $number, message => $error);
            next;
        }
        message_write($answer, $number, %facts);
        if ($verb eq 'identity') {
            notify('READY=1');
            # A resumed clone was captured before its services started: start them now.
            # SIGRTMIN+0 asks systemd for default.target. Who asked for the machine connects in
            # this moment; with one processor, services first would triple that wait.
            if ($template && $first_identity) {
                select(undef, undef, undef, $START_DELAY);
                signal_init(0);
            }
            eval { identity_finish($fields) };
            return if defined $left;
        }
    }
}

port_open();
if ($template) {
    template_prepare();
    notify('READY=1');
    message_write('hello', 0, facts());
}
elsif (-e $APPLIED) {
    notify('READY=1');    # restarted by systemd; the machine has its identity already
}
else {
    # A boot. A host that started it says who we are at once. One that only looks on does not,
    # or there is none: then the disk remembers.
    eval { root_grow() };
    my $known = identity_load();
    message_write('hello', 0, facts());
    if (defined $known) {
        my $left = 5;
        serve(\$left);
    }
    if (defined $known && !-e $APPLIED) {
        eval { identity_apply($known); make_dirs('/run/hafen'); spew($APPLIED, 0644, "1\n") };
        warn $@ if $@;
        notify('READY=1');
    }
}
serve();
