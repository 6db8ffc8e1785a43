# Helm 4 (the Go library, through its Python binding): install, upgrade, rollback and uninstall, each waiting until the
# cluster is as wanted. Prints a line a step; ends with status 1 and the reason at the first thing that is wrong.
import base64
import sys

import helm_python as helm
from kubernetes import client, config

kubeconfig, chart = sys.argv[1:3]
config.load_kube_config(kubeconfig)
core, apps = client.CoreV1Api(), client.AppsV1Api()


def step(name, wanted, found):
    if wanted != found:
        sys.exit(f"{name}: wanted {wanted!r}, found {found!r}")
    print(f"ok {name}")


def deployed(name="one"):
    deployment = apps.read_namespaced_deployment(name, "releases")
    return deployment.status.available_replicas, deployment.spec.template.spec.containers[0].env[0].value


core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name="releases")))
with helm.Config(namespace="releases", kubeconfig_path=kubeconfig) as helm_config:
    release = helm_config.install(chart, "one", {"text": "first"}, wait="watcher", timeout=60)
    step("install", (1, "deployed"), (release["revision"], release["status"]))
    step("installed is ready", (1, "first"), deployed())
    secret = core.read_namespaced_secret("one-secret", "releases")
    step("stringData is stored as data", b"first", base64.b64decode(secret.data["password"]))

    release = helm_config.upgrade(chart, "one", {"text": "second", "replicas": 2}, wait="watcher", timeout=60)
    step("upgrade", (2, "deployed"), (release["revision"], release["status"]))
    step("upgraded is ready", (2, "second"), deployed())
    step("values", "second", helm_config.get_values("one")["text"])

    try:
        helm_config.upgrade(chart, "one", {"text": "bad", "image": "weft.local/missing:1"}, wait="watcher", timeout=5)
        sys.exit("an upgrade to an image that does not exist was called ready")
    except helm.HelmError:
        print("ok an upgrade that never gets ready times out")

    helm_config.rollback("one", version=1, wait="watcher", timeout=60)
    step("rolled back", (1, "first"), deployed())
    history = [(r["revision"], r["status"]) for r in helm_config.history("one")]
    step("history", [(1, "superseded"), (2, "superseded"), (3, "failed"), (4, "deployed")], sorted(history))
    step("list", ["one"], [r["name"] for r in helm_config.list()])

    helm_config.uninstall("one", wait="watcher", timeout=60)
    left = [d.metadata.name for d in apps.list_namespaced_deployment("releases").items]
    left += [s.metadata.name for s in core.list_namespaced_secret("releases").items]
    left += [s.metadata.name for s in core.list_namespaced_service("releases").items]
    step("uninstall leaves nothing", [], left)
