"""How close an asset is to the scene that it was baked from, and what it gains."""
