#!/usr/bin/env python3
"""Stands in for ssh: carries a stock client's command and bytes to a port of this machine. client.py HOST COMMAND"""
import os
import socket
import sys
import threading

port = int(os.environ["HAFEN_TEST_PORT"])
command = sys.argv[-1]
connection = socket.create_connection(("127.0.0.1", port))
connection.sendall((os.environ.get("GIT_PROTOCOL", "") + "\n" + command + "\n").encode())


def up():
    while True:
        data = os.read(0, 1 << 16)
        if not data:
            break
        try:
            connection.sendall(data)
        except OSError:
            return
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass


threading.Thread(target=up, daemon=True).start()
while True:
    data = connection.recv(1 << 16)
    if not data:
        break
    while data:
        data = data[os.write(1, data):]
