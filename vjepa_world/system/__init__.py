"""The machine: CPU, memory, device, standard streams and progress bars."""
