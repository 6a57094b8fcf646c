"""Tables attacked within declared constraints."""
