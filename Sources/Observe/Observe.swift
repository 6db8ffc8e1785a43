// Explain, capture, flows, status.
