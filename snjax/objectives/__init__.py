"""What the players minimise: adversarial losses, penalties, reconstruction losses, and augmentation of what D sees."""
