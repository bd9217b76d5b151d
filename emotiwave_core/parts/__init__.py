"""Parts by kind and name: what is installed, loading, guarding, checking and scaffolding them."""
