"""Track labels that enter and leave, and save images of them."""
