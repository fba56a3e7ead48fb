"""What the compiler says of a model: the report of its encoding, and a picture of the reorder."""
