// The node agent: pods over CRI, images, probes, status, logs.
