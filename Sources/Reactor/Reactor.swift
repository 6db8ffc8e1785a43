// The event loop of the data path: a thread a core, edge-triggered epoll, owned descriptors and buffers, timers.
