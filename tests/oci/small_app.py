"""What small images hold of our own."""

import yaml

print(yaml.safe_load("answer: 42"))
