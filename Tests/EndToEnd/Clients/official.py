# The official Python client as programs use it: typed objects, watches, patches, dynamic client, exec, leader election.
import sys
import threading

from kubernetes import client, config, dynamic, watch
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from kubernetes.stream import portforward, stream

config.load_kube_config(sys.argv[1])
core, apps = client.CoreV1Api(), client.AppsV1Api()


def step(name, wanted, found):
    if wanted != found:
        sys.exit(f"{name}: wanted {wanted!r}, found {found!r}")
    print(f"ok {name}")


# Models refuse objects that lack a required field: reading everything proves that the server writes them.
pods = core.list_namespaced_pod("demo", label_selector="app=web").items
step("pods are running", ["Running"] * 2, [p.status.phase for p in pods])
step("nodes have addresses", True, bool(core.list_node().items[0].status.addresses))
for read in (
    core.list_event_for_all_namespaces, core.list_endpoints_for_all_namespaces, core.list_service_for_all_namespaces,
    apps.list_replica_set_for_all_namespaces, client.DiscoveryV1Api().list_endpoint_slice_for_all_namespaces,
    client.CoordinationV1Api().list_lease_for_all_namespaces, client.RbacAuthorizationV1Api().list_cluster_role,
    client.NetworkingV1Api().list_network_policy_for_all_namespaces,
):
    read()
print("ok every model reads")

seen = []
started = threading.Event()


def follow():
    for event in watch.Watch().stream(core.list_namespaced_config_map, "default", label_selector="by=python",
                                      resource_version=version, timeout_seconds=20):
        seen.append((event["type"], event["object"].metadata.name, (event["object"].data or {}).get("a")))
        if event["type"] == "DELETED":
            return


version = core.list_namespaced_config_map("default").metadata.resource_version
follower = threading.Thread(target=follow)
follower.start()
core.create_namespaced_config_map("default", client.V1ConfigMap(
    metadata=client.V1ObjectMeta(name="seen", labels={"by": "python"}), data={"a": "1"}))
core.patch_namespaced_config_map("seen", "default", {"data": {"a": "2"}})
current = core.read_namespaced_config_map("seen", "default")
current.data["a"] = "3"
core.replace_namespaced_config_map("seen", "default", current)
try:
    core.replace_namespaced_config_map("seen", "default", current)
    sys.exit("an update from an old version was accepted")
except client.ApiException as error:
    step("an update from an old version is a conflict", 409, error.status)
core.delete_namespaced_config_map("seen", "default")
follower.join(25)
step("a watch sees each change in order",
     [("ADDED", "seen", "1"), ("MODIFIED", "seen", "2"), ("MODIFIED", "seen", "3"), ("DELETED", "seen", "3")], seen)

apps.patch_namespaced_deployment_scale("web", "demo", {"spec": {"replicas": 2}})
step("scale", 2, apps.read_namespaced_deployment_scale("web", "demo").spec.replicas)

api = dynamic.DynamicClient(client.ApiClient())
maps = api.resources.get(api_version="v1", kind="ConfigMap")
applied = api.server_side_apply(
    maps, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"x": "y"}},
    name="applied", namespace="default", field_manager="tester")
step("server-side apply", "tester", applied.metadata.managedFields[0].manager)
step("dynamic client finds kinds", "deployments", api.resources.get(api_version="apps/v1", kind="Deployment").name)

out = stream(core.connect_get_namespaced_pod_exec, pods[0].metadata.name, "demo",
             command=["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], stdout=True, stderr=True, stdin=False, tty=False,
             _preload_content=False)
out.run_forever(timeout=20)
step("exec", ("out\n", "err\n", 3), (out.read_stdout(), out.read_stderr(), out.returncode))
step("log", True, isinstance(core.read_namespaced_pod_log(pods[0].metadata.name, "demo", tail_lines=1), str))

forward = portforward(core.connect_get_namespaced_pod_portforward, pods[0].metadata.name, "demo", ports="8080,9")
socket = forward.socket(8080)
socket.settimeout(20)
socket.sendall(b"GET / HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")
answer = b""
while part := socket.recv(65536):
    answer += part
step("port-forward", True, answer.startswith(b"HTTP/1.1 200") and b"pod: " + pods[0].metadata.name.encode() in answer)
step("port-forward says why a port fails", True, "connection refused" in (forward.error(9) or ""))


def elect(identity, order, leading, release):
    def lead():
        order.append(identity)
        leading.set()
        release.wait(60)

    settings = electionconfig.Config(
        LeaseLock("leader", "default", identity), lease_duration=4, renew_deadline=3, retry_period=1,
        onstarted_leading=lead, onstopped_leading=lambda: None)
    threading.Thread(target=lambda: leaderelection.LeaderElection(settings).run(), daemon=True).start()


order, first, second, never = [], threading.Event(), threading.Event(), threading.Event()
elect("a", order, first, never)
step("a candidate leads", True, first.wait(15))
elect("b", order, second, never)
step("the second does not while the first renews", False, second.wait(6))
step("one leader", ["a"], order)
