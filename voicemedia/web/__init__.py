"""What clients of web services share: requests that stream, WebSockets, refusals, and how long to stay away."""
