"""paramiko through the bastion, with certificates. It knows no authorities of hosts: it compares the bare keys."""
import sys
import paramiko

folder, port, user = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def key(name):
    loaded = paramiko.Ed25519Key.from_private_key_file(f'{folder}/id')
    loaded.load_certificate(f'{folder}/{name}-cert.pub')
    return loaded


bastion = paramiko.Transport(('127.0.0.1', port))
bastion.start_client(timeout=20)
bastion.auth_publickey('alice', key('bastion'))
channel = bastion.open_channel('direct-tcpip', ('web-1.hello.hafen', 22), ('127.0.0.1', 0), timeout=20)
machine = paramiko.Transport(channel)
machine.start_client(timeout=20)
machine.auth_publickey(user, key('machine'))
session = machine.open_session()
session.exec_command('echo through')
assert session.makefile().read() == b'through\n'
# russh refuses a type it does not know (3) and once more when it drops the reply (1); paramiko tells the one it read last.
for kind, codes in [('session', [1]), ('x11', [1]), ('auth-agent@openssh.com', [1]), ('unheard-of', [3, 1])]:
    try:
        bastion.open_channel(kind, src_addr=('127.0.0.1', 1), timeout=20)
    except paramiko.ChannelException as error:
        assert error.code in codes, (kind, error.code)
    else:
        raise AssertionError(kind)
machine.close()
bastion.close()
print('paramiko', paramiko.__version__, 'good')
