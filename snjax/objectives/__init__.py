"""Objectives: adversarial losses, penalties, reconstruction losses, augmentation of D's images."""
