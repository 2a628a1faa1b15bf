"""Documents that are nearly equal: signatures, and the search among them."""
