"""What changes for whom between two entry paths, as a commit message argues it, from execution.

``side``    one path under the scenarios that the comparison runs
``aspects`` the rows of the comparison: exposure, IF, lockdep's view, results, ``kvm_rebooting``
``claims``  what the message of Linux commit be45bc4eff33 says, each sentence with a check that two paths pass or fail
``render``  both as text, Markdown and JSON
"""
