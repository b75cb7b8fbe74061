"""What tests need of the product: failpoints."""
