"""asyncssh through the bastion: what works, and what only a client without scruples asks for."""
import asyncio, sys
import asyncssh

folder, port, user = sys.argv[1], int(sys.argv[2]), sys.argv[3]
MACHINE = 'web-1.hello.hafen'


def keys(name):
    return [(f'{folder}/id', f'{folder}/{name}-cert.pub')]


async def refused(what, code, coroutine):
    try:
        await coroutine
    except asyncssh.ChannelOpenError as error:
        assert error.code == code, (what, error.code, error.reason)
        return
    raise AssertionError(f'{what} went through')


async def main():
    known = asyncssh.read_known_hosts(f'{folder}/known_hosts')
    async with asyncssh.connect('127.0.0.1', port, host_key_alias='bastion.hafen', username='alice',
                                client_keys=keys('bastion'), known_hosts=known, agent_path=None) as bastion:
        async with asyncssh.connect(MACHINE, tunnel=bastion, username=user, client_keys=keys('machine'),
                                    known_hosts=known, agent_path=None) as machine:
            done = await machine.run('cat', input='x' * 300000)
            assert done.stdout == 'x' * 300000, len(done.stdout)
        ignore = asyncssh.SSHTCPSession
        for host, to in [(MACHINE, 65536), (MACHINE, 65558), (MACHINE, 2**32 - 1), (MACHINE, 0), ('', 22),
                         ('a' * 5000, 22), ('127.0.0.1', 22), (MACHINE + '\0', 22), (MACHINE, 23)]:
            await refused((host, to), 1, bastion.create_connection(ignore, host, to))
        await refused('streamlocal', 1, bastion.create_unix_connection(asyncssh.SSHUNIXSession, '/run/dbus/system_bus_socket'))
        await refused('session', 1, bastion.run('id'))
        for forward in [bastion.forward_remote_port('', 0, 'localhost', 22),
                        bastion.forward_remote_path('/tmp/no-such', '/tmp/no-such')]:
            try:
                await forward
            except (asyncssh.ChannelListenError, OSError):
                continue
            raise AssertionError('a listener was made')
    print('asyncssh', asyncssh.__version__, 'good')


asyncio.run(main())
