"""Payments: the payment processor's port and its adapters."""
