"""The door of voice gateways: gRPC services that take callers' sound segment by segment."""
