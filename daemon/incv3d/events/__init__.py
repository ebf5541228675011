"""Labels that enter and leave, and the images saved of them."""
