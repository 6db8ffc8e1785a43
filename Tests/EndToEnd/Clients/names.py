"""names.py PORT udp|tcp NAME TYPE [NAME TYPE...]: a client of names that shares no code with anybody's: a line a question, its code, whether
an SOA stands in the authority, and the answer's data, sorted, with blanks between them as dig writes them and tabs between records."""
import ipaddress
import random
import socket
import struct
import sys

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "HTTPS": 65}
CODES = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"]


def wire(name):
    return b"".join(bytes([len(label)]) + label for label in name.rstrip(".").encode().split(b".")) + b"\0"


def read_name(message, at):
    labels, end, last = [], None, len(message)
    while True:
        length = message[at]
        if length >= 0xC0:
            to = (length & 0x3F) << 8 | message[at + 1]
            end = at + 2 if end is None else end
            if to >= last:
                raise ValueError(f"a pointer forward at {at}")
            at = last = to
            continue
        if length > 63:
            raise ValueError(f"no label at {at}")
        at += 1
        if length == 0:
            return ".".join(labels) + ".", at if end is None else end
        labels.append(message[at:at + length].decode())
        at += length


def data(message, kind, at, length):
    if kind == 1 or kind == 28:
        return str(ipaddress.ip_address(message[at:at + length]))
    if kind in (2, 5, 12):
        return read_name(message, at)[0]
    if kind == 33:
        return "%d %d %d " % struct.unpack(">3H", message[at:at + 6]) + read_name(message, at + 6)[0]
    if kind == 16:
        texts, end = [], at + length
        while at < end:
            texts.append('"' + message[at + 1:at + 1 + message[at]].decode() + '"')
            at += 1 + message[at]
        return " ".join(texts)
    return message[at:at + length].hex()


def ask(port, transport, query):
    if transport == "udp":
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(5)
        client.connect(("127.0.0.1", port))
        for attempt in (1, 2):
            client.send(query)
            try:
                return client.recv(65535)
            except TimeoutError:
                if attempt == 2:
                    raise
    client = socket.create_connection(("127.0.0.1", port), 10)
    client.sendall(struct.pack(">H", len(query)) + query)
    reply, wanted = b"", 2
    while len(reply) < wanted:
        more = client.recv(65535)
        if not more:
            raise ValueError("the connection ended")
        reply += more
        if len(reply) >= 2:
            wanted = 2 + struct.unpack(">H", reply[:2])[0]
    return reply[2:]


port, transport, words = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
for name, kind in zip(words[::2], words[1::2]):
    number = TYPES.get(kind) or int(kind.removeprefix("TYPE"))
    query = struct.pack(">6H", random.randrange(65536), 0x0100, 1, 0, 0, 0) + wire(name) + struct.pack(">2H", number, 1)
    reply = ask(port, transport, query)
    identity, flags, questions, *counts = struct.unpack(">6H", reply[:12])
    # The question comes back octet for octet, spelling too.
    if identity != struct.unpack(">H", query[:2])[0] or not flags & 0x8000 or reply[12:len(query)] != query[12:]:
        raise SystemExit(f"{name} {kind}: another question's reply")
    at, found, has_start = len(query), [], False
    for section, count in enumerate(counts):
        for _ in range(count):
            _, at = read_name(reply, at)
            record, _, _, length = struct.unpack(">2HIH", reply[at:at + 10])
            at += 10
            if at + length > len(reply):
                raise SystemExit(f"{name} {kind}: a record is longer than the reply")
            if section == 0:
                found.append(data(reply, record, at, length))
            has_start = has_start or section == 1 and record == 6
            at += length
    if at != len(reply):
        raise SystemExit(f"{name} {kind}: {len(reply) - at} octets too many")
    print("\t".join([CODES[flags & 15], "SOA" if has_start else "-", *sorted(found)]))
