# SPDX-License-Identifier: Apache-2.0
"""What the system tests share: a pair of nodes on this machine, driven through the real programs."""
