"""The pure rules of governance: values in, values out."""
