"""From a recipe to a sealed token store."""
