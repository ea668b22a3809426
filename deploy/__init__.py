"""What starts the HTTP service on Google Cloud."""
