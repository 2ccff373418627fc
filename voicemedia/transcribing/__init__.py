"""Speech to text as a service: sessions of somebody who sends sound and reads transcripts, whatever the transport."""
