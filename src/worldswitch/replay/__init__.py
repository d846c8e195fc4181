"""Replaying scenarios on real SVM implementations, with a small boot image, and comparing them with the model."""
