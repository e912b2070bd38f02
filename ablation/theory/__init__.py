"""The law and what networks cost: how coefficients follow from phi, a network as integers, its counted cost,
the choice at a budget; and what libraries call the tensors of published networks.

May import: the standard library only.
"""
