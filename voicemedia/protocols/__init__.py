"""The ways a caller reaches us over WebSocket, a carrier each."""
