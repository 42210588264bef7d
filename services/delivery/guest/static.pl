#!/usr/bin/perl
# Serves a folder of files over HTTP/1.1: for apps that are nothing else. Perl, because every Debian has it.
#
# GET and HEAD; index.html of folders; ETags; no listings, no dot files, nothing outside of the folder. A few processes share
# the port; each takes one connection at a time, and none that has nothing to ask: an idle one would hold up the others.
use strict;
use warnings;
use Socket qw(AF_INET SOCK_STREAM SOL_SOCKET SO_REUSEADDR SO_RCVTIMEO SO_SNDTIMEO INADDR_ANY sockaddr_in);

my ($root, $port, $release) = @ARGV;
my $WORKERS  = 8;
my $PATIENCE = 15;    # seconds for a request to come and for an answer to go
my $HEAD     = 16384; # bytes of a request

my %TYPES = (
    html => 'text/html; charset=utf-8', htm => 'text/html; charset=utf-8', css => 'text/css; charset=utf-8',
    js => 'text/javascript; charset=utf-8', mjs => 'text/javascript; charset=utf-8', json => 'application/json',
    txt => 'text/plain; charset=utf-8', md => 'text/plain; charset=utf-8', xml => 'application/xml', svg => 'image/svg+xml',
    png => 'image/png', jpg => 'image/jpeg', jpeg => 'image/jpeg', gif => 'image/gif', webp => 'image/webp',
    avif => 'image/avif', ico => 'image/x-icon', woff => 'font/woff', woff2 => 'font/woff2', ttf => 'font/ttf',
    pdf => 'application/pdf', wasm => 'application/wasm', webmanifest => 'application/manifest+json', map => 'application/json',
    mp4 => 'video/mp4', webm => 'video/webm', mp3 => 'audio/mpeg', zip => 'application/zip',
);

my $stopping = 0;

sub send_all {
    my ($to, $bytes) = @_;
    my $at = 0;
    while ($at < length $bytes) {
        my $count = syswrite $to, $bytes, length($bytes) - $at, $at;
        return 0 unless $count;
        $at += $count;
    }
    return 1;
}

sub answer {
    my ($to, $method, $status, $headers, $body, $keep) = @_;
    my $head = "HTTP/1.1 $status\r\n" . join('', map { "$_\r\n" } @$headers);
    $head .= "Content-Length: " . length($body) . "\r\n" unless $status =~ /\A304/;
    $head .= ($keep ? '' : "Connection: close\r\n") . "\r\n";
    return send_all($to, $method eq 'HEAD' ? $head : $head . $body);
}

sub plain {
    my ($to, $method, $status, $keep, @headers) = @_;
    return answer($to, $method, $status, ['Content-Type: text/plain; charset=utf-8', @headers], "$status\n", $keep);
}

# The file that a path means; undef for none.
sub file_of {
    my ($path) = @_;
    $path =~ s/[?#].*//s;
    $path =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ge;
    return undef if $path =~ /[\x00-\x1f]/ || $path !~ m{\A/};
    for my $part (split m{/}, $path) {
        return undef if $part =~ /\A\./ && $part ne '.well-known';
    }
    my $file = "$root$path";
    return undef if -l $file && !-e $file;
    return $file if $path !~ m{/\z} && -f $file;
    if (-d $file) {
        return ['folder'] if $path !~ m{/\z};
        return "$file/index.html" if -f "$file/index.html";
    }
    return undef;
}

sub serve_file {
    my ($to, $method, $file, $keep, $match) = @_;
    open my $from, '<:raw', $file or return plain($to, $method, '404 Not Found', $keep);
    my @facts = stat $from;
    # Of a release a file never changes, and all its times are the same.
    my $tag = "\"$release\"";
    return answer($to, 'HEAD', '304 Not Modified', ["ETag: $tag"], '', $keep) if defined $match && index($match, $tag) >= 0;
    my ($ending) = $file =~ /\.([A-Za-z0-9]+)\z/;
    my $type = $TYPES{lc($ending // '')} // 'application/octet-stream';
    my $head = "HTTP/1.1 200 OK\r\nContent-Type: $type\r\nContent-Length: $facts[7]\r\nETag: $tag\r\n"
        . "X-Content-Type-Options: nosniff\r\n" . ($keep ? '' : "Connection: close\r\n") . "\r\n";
    return 0 unless send_all($to, $head);
    return 1 if $method eq 'HEAD';
    my $rest = $facts[7];
    while ($rest > 0) {
        my $count = sysread $from, my $bytes, $rest < 65536 ? $rest : 65536;
        return 0 unless $count && send_all($to, $bytes);
        $rest -= $count;
    }
    return 1;
}

# One request of a connection; whether another may follow.
sub request {
    my ($to, $buffer) = @_;
    while ($$buffer !~ /\r\n\r\n/) {
        return 0 if length $$buffer > $HEAD;
        my $count = sysread $to, $$buffer, 8192, length $$buffer;
        return 0 unless $count;
    }
    $$buffer =~ s/\A(.*?)\r\n\r\n//s;
    my ($line, @headers) = split /\r\n/, $1;
    my ($method, $target, $version) = ($line // '') =~ m{\A([A-Z]{1,16}) (\S{1,8192}) HTTP/1\.([01])\z};
    return (plain($to, 'GET', '400 Bad Request', 0), 0)[1] unless defined $version;
    my %header;
    for (@headers) {
        my ($name, $value) = /\A([!-9;-~]+):[ \t]*(.*?)[ \t]*\z/ or return (plain($to, 'GET', '400 Bad Request', 0), 0)[1];
        $header{lc $name} = $value;
    }
    # What brings a body is not asked for here, and its end would have to be found.
    my $body = exists $header{'transfer-encoding'} || ($header{'content-length'} // '0') ne '0';
    my $wish = lc($header{connection} // '');
    my $keep = !$stopping && !$body && $version eq '1' && $wish !~ /close/ && length $$buffer;
    if ($method ne 'GET' && $method ne 'HEAD') {
        plain($to, 'GET', '405 Method Not Allowed', 0, 'Allow: GET, HEAD');
        return 0;
    }
    $target =~ s{\Ahttps?://[^/]*}{}i;
    my $file = file_of($target);
    if (ref $file) {
        my ($path) = $target =~ /\A([^?#]*)/;
        $path =~ s{\A/+}{/};
        return plain($to, $method, '308 Permanent Redirect', $keep, "Location: $path/") && $keep;
    }
    if (!defined $file) {
        if (open my $page, '<:raw', "$root/404.html") {
            local $/;
            my $text = <$page>;
            return answer($to, $method, '404 Not Found', ['Content-Type: text/html; charset=utf-8'], $text, $keep) && $keep;
        }
        return plain($to, $method, '404 Not Found', $keep) && $keep;
    }
    return serve_file($to, $method, $file, $keep, $header{'if-none-match'}) && $keep;
}

sub worker {
    my ($listener) = @_;
    $SIG{TERM} = sub { $stopping = 1 };
    while (!$stopping) {
        my $address = accept(my $client, $listener) or next;
        binmode $client;
        setsockopt $client, SOL_SOCKET, SO_RCVTIMEO, pack('q q', $PATIENCE, 0);
        setsockopt $client, SOL_SOCKET, SO_SNDTIMEO, pack('q q', $PATIENCE, 0);
        my $buffer = '';
        1 while request($client, \$buffer);
        close $client;
    }
    exit 0;
}

die "usage: static FOLDER PORT RELEASE\n" unless defined $release && $port =~ /\A[0-9]{1,5}\z/ && -d $root;
$root =~ s{/+\z}{};
$SIG{PIPE} = 'IGNORE';
socket my $listener, AF_INET, SOCK_STREAM, 0 or die "socket: $!\n";
setsockopt $listener, SOL_SOCKET, SO_REUSEADDR, 1;
bind $listener, sockaddr_in($port, INADDR_ANY) or die "port $port: $!\n";
listen $listener, 512 or die "listen: $!\n";
print "serves $root at port $port\n";
my %workers;
$SIG{TERM} = $SIG{INT} = sub { $stopping = 1; kill TERM => keys %workers };
until ($stopping && !%workers) {
    while (!$stopping && keys %workers < $WORKERS) {
        my $child = fork // die "fork: $!\n";
        if (!$child) { $SIG{INT} = 'DEFAULT'; worker($listener) }
        $workers{$child} = 1;
    }
    my $gone = wait;
    delete $workers{$gone} if $gone > 0;
    last if $gone < 0 && $stopping;
}
