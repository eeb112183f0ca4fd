"""The bus: carries messages between the front, the actors and the read models."""
