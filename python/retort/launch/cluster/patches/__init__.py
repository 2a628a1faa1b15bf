"""Ways to change a part of an object, and who owns which part."""
