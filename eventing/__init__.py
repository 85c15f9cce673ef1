"""What broker, channels and sources share: events over HTTP, filters, delivery with retries."""
