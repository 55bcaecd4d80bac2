"""conditioners"""
