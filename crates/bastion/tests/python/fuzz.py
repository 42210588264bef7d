"""Sends packets that no client would, encrypted and in order, before and after the bastion let it in."""
import asyncio, random, struct, sys, time
import asyncssh

folder, port, seed, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
rng = random.Random(seed)


def text(value):
    return struct.pack('>I', len(value)) + value


def number(value=None):
    return struct.pack('>I', rng.choice([0, 1, 2, 22, 80, 255, 65535, 65536, 2**31, 2**32 - 1]) if value is None else value)


def noise(most=64):
    return rng.randbytes(rng.randrange(most))


WORDS = [b'session', b'direct-tcpip', b'x11', b'forwarded-tcpip', b'direct-streamlocal@openssh.com', b'auth-agent@openssh.com',
         b'ssh-userauth', b'ssh-connection', b'publickey', b'none', b'password', b'keyboard-interactive', b'alice',
         b'web-1.hello.hafen', b'pty-req', b'shell', b'exec', b'subsystem', b'env', b'signal', b'tcpip-forward',
         b'cancel-tcpip-forward', b'keepalive@openssh.com', b'no-more-sessions@openssh.com', b'ssh-ed25519',
         b'ssh-ed25519-cert-v01@openssh.com', b'rsa-sha2-512', b'', b'\xff\xfe', b'a' * 2000]
CERTIFICATE = open(f'{folder}/bastion-cert.pub').read().split()[1]


def certificate():
    import base64
    data = bytearray(base64.b64decode(CERTIFICATE))
    for _ in range(rng.randrange(6)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[:rng.randrange(len(data)) if rng.random() < 0.3 else None])


def body():
    parts = []
    for _ in range(rng.randrange(8)):
        parts.append(rng.choice([
            lambda: text(rng.choice(WORDS)), number, lambda: bytes([rng.randrange(2)]), noise,
            lambda: text(noise()), lambda: struct.pack('>I', rng.randrange(2**32)) + noise(),
            lambda: text(certificate())])())
    return b''.join(parts)


def packet():
    kind = rng.choice([rng.randrange(1, 256), *range(80, 101), 2, 3, 4, 5, 7, 20, 21, 30, 31, 50, 60, 61])
    if kind == 1 and rng.random() < 0.9:
        kind = 90
    if kind == 90 and rng.random() < 0.6:
        return kind, text(rng.choice(WORDS[:6])) + number() + number(2**21) + number(32768) + \
            text(rng.choice(WORDS)) + number(22) + text(b'127.0.0.1') + number()
    if kind in (93, 94, 96, 97, 98) and rng.random() < 0.6:
        return kind, number(rng.randrange(6)) + body()
    if kind == 50 and rng.random() < 0.6:
        return kind, text(b'alice') + text(b'ssh-connection') + text(b'publickey') + bytes([rng.randrange(2)]) + \
            text(b'ssh-ed25519-cert-v01@openssh.com') + text(certificate()) + body()
    return kind, body()


class Quiet(asyncssh.SSHClient):
    pass


async def one(known, let_in):
    keys = [(f'{folder}/id', f'{folder}/bastion-cert.pub')] if let_in else None
    sent = 0
    conn = None
    try:
        if let_in:
            conn = await asyncssh.connect('127.0.0.1', port, host_key_alias='bastion.hafen', username='alice',
                                          client_keys=keys, known_hosts=known, agent_path=None)
        else:
            # Stops where the authentication would begin.
            reached = asyncio.Event()

            class Hold(asyncssh.SSHClient):
                def connection_made(self, made):
                    self.conn = made

                def begin_auth(self, username):
                    reached.set()

                def public_key_auth_requested(self):
                    reached.set()
                    return hold

            hold = asyncio.get_running_loop().create_future()
            holder = {}

            def make():
                holder['client'] = Hold()
                return holder['client']

            connecting = asyncio.ensure_future(asyncssh.connect(
                '127.0.0.1', port, host_key_alias='bastion.hafen', username='alice', client_factory=make,
                client_keys=None, known_hosts=known, agent_path=None))
            await asyncio.wait_for(reached.wait(), 5)
            conn = holder['client'].conn
        for _ in range(rng.randrange(1, 60)):
            kind, data = packet()
            conn.send_packet(kind, data)
            sent += 1
            if rng.random() < 0.3:
                await asyncio.sleep(0)
            if conn.is_closed():
                break
        await asyncio.sleep(0.005)
    except (asyncssh.Error, OSError, asyncio.TimeoutError, AttributeError, ValueError):
        pass
    finally:
        if conn is not None:
            conn.abort()
        if not let_in:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
    return sent


async def main():
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    known = asyncssh.read_known_hosts(f'{folder}/known_hosts')
    end, connections, packets = time.monotonic() + seconds, [0, 0], [0, 0]
    while time.monotonic() < end:
        let_in = rng.random() < 0.6
        packets[let_in] += await one(known, let_in)
        connections[let_in] += 1
    print(f'seed {seed}: before {connections[0]} connections {packets[0]} packets, after {connections[1]} connections {packets[1]} packets')
    assert packets[0] > 20 and packets[1] > 20


asyncio.run(main())
