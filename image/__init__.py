"""What the image holds beside the packages."""
