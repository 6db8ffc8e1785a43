// Talking to an API server: requests, watches, informers, work queues, kubeconfig.
