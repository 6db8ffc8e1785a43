# An operator on kopf: each Greeting gets a ConfigMap with its text, follows changes, and takes it away at the end.
import kopf
from kubernetes import client, config


@kopf.on.startup()
def configure(settings, **_):
    settings.posting.enabled = True
    settings.persistence.finalizer = "greetings.example.test/finalizer"
    config.load_kube_config()


def body(spec, name):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=f"greeting-{name}"), data={"text": spec["text"]})


@kopf.on.create("example.test", "v1", "greetings")
def create(spec, name, namespace, patch, **_):
    client.CoreV1Api().create_namespaced_config_map(namespace, body(spec, name))
    patch.status["said"] = spec["text"]
    return {"map": f"greeting-{name}"}


@kopf.on.update("example.test", "v1", "greetings")
def update(spec, name, namespace, patch, **_):
    client.CoreV1Api().replace_namespaced_config_map(f"greeting-{name}", namespace, body(spec, name))
    patch.status["said"] = spec["text"]


@kopf.on.delete("example.test", "v1", "greetings")
def delete(name, namespace, **_):
    client.CoreV1Api().delete_namespaced_config_map(f"greeting-{name}", namespace)
