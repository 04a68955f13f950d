"""Encoders: from texts and pictures to vectors."""
