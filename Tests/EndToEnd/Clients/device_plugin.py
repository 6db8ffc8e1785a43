# A device plugin on gRPC's own library: two devices, one of which falls ill when the file named second appears. The messages are
# written by hand: fields by number, as the interface v1beta1 has them.
import os
import sys
import threading
import time
from concurrent import futures

import grpc

folder, illness = sys.argv[1], sys.argv[2]


def field(number, payload):
    if isinstance(payload, str):
        payload = payload.encode()
    return bytes([number << 3 | 2, len(payload)]) + payload


def fields(message):
    at, found = 0, []
    while at < len(message):
        number, size = message[at] >> 3, message[at + 1]
        found.append((number, message[at + 2 : at + 2 + size]))
        at += 2 + size
    return found


def devices():
    health = {"left": "Unhealthy" if os.path.exists(illness) else "Healthy", "right": "Healthy"}
    return b"".join(field(1, field(1, name) + field(2, word)) for name, word in health.items())


def list_and_watch(request, context):
    last = None
    while context.is_active():
        now = devices()
        if now != last:
            yield now
            last = now
        time.sleep(0.05)


def allocate(request, context):
    ids = ",".join(name.decode() for _, one in fields(request) for _, name in fields(one))
    grant = field(1, field(1, "FAKE_DEVICES") + field(2, ids))
    grant += field(3, field(1, "/dev/fake") + field(2, "/dev/null") + field(3, "rw"))
    return field(1, grant)


plain = {"request_deserializer": bytes, "response_serializer": bytes}
handlers = {
    "GetDevicePluginOptions": grpc.unary_unary_rpc_method_handler(lambda r, c: b"", **plain),
    "ListAndWatch": grpc.unary_stream_rpc_method_handler(list_and_watch, **plain),
    "Allocate": grpc.unary_unary_rpc_method_handler(allocate, **plain),
    "PreStartContainer": grpc.unary_unary_rpc_method_handler(lambda r, c: b"", **plain),
}
server = grpc.server(futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("v1beta1.DevicePlugin", handlers),))
server.add_insecure_port(f"unix:{folder}/fake.sock")
server.start()
with grpc.insecure_channel(f"unix:{folder}/kubelet.sock") as channel:
    register = channel.unary_unary("/v1beta1.Registration/Register", request_serializer=bytes, response_deserializer=bytes)
    # pre_start_required: the agent says before each start which devices it is about.
    options = field(4, b"\x08\x01")
    register(field(1, "v1beta1") + field(2, "fake.sock") + field(3, "example.com/fake") + options, timeout=20)
print("ok registered", flush=True)
threading.Event().wait()
