"""The kubelet's gRPC contracts: messages, their wire format, and the transport."""
