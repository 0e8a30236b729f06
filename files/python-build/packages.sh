# shellcheck shell=bash
: "${folder:?}"
# What is in a folder of Python packages beyond what Python itself brings.
shopt -s nullglob
for path in "$folder"/*; do
  case ${path##*/} in
    pip | pip-* | setuptools | setuptools-* | pkg_resources | _distutils_hack | wheel | wheel-*) ;;
    distutils-precedence.pth | README.txt | __pycache__) ;;
    *) echo "${path##*/}" ;;
  esac
done
