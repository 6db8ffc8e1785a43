// rtnetlink and network namespaces in plain Swift: links, addresses, routes, neighbours. No Foundation.
