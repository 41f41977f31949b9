"""One small server a peer, and the list of them in `bench.peers.catalogue`."""
